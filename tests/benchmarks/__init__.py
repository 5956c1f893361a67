"""Figures, not tests: what the product costs and how fast it is, printed beside the budgets of the design."""
