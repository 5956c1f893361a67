"""Who asks and whether they may: certificates, tokens, RBAC and the node authoriser."""
