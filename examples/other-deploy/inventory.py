"""Hosts with Baïkal have its settings in the data `baikal`. All other data is for other software."""

calendars = [("cal.example.org", {"baikal": {"hostname": "cal.example.org"}, "app_port": 8000})]
websites = [("www.example.org", {"app_port": 8000})]
