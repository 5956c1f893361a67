"""`python -m edgekube` is the same as `edgekube`."""

from edgekube.cli.main import main

main()
