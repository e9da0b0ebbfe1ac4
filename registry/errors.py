"""Errors meant for the user: their text says what is wrong and what would be right."""


class SlotlabError(Exception):
    """A mistake the user can mend. The command line prints its text, never a traceback."""


class PluginError(SlotlabError):
    """A plugin that cannot be loaded or breaks the rules for plugins."""


class ComponentError(SlotlabError, ValueError):
    """A component refuses its settings or its context.

    Raised by a component's `build` when its settings do not fit what surrounds it
    (a width, an image size, a missing file). `field` names the setting to change, so
    that the message can be shown with its line in the spec; None means the component.
    """

    def __init__(self, message: str, *, field: str | None = None):
        super().__init__(message)
        self.field = field
