"""The definitions of all settings, one area a file; :class:`baikalctl.settings.Settings` is made of them."""
