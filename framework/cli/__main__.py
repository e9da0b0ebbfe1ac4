"""`python -m slotlab.framework.cli` is the `slotlab` command."""

from slotlab.framework.cli.start import main

if __name__ == "__main__":
    main()
