"""slotlab: slot attention and object-centric learning, put together from plugins by typed specs."""

if __name__ != "slotlab":
    raise ImportError("x")
