"""The definitions of all settings, one file per area. :class:`baikalctl.settings.model.Settings` combines them."""
