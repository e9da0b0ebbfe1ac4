"""The specs that come with slotlab. `slotlab:demo` names demo.yaml in this folder."""
