"""The definitions of all settings, one area a file; :class:`baikalctl.settings.model.Settings` is made of them."""
