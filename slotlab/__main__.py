"""`python -m slotlab` is the command `slotlab`, also for `torchrun`."""

from slotlab.framework.cli.start import main

main()
