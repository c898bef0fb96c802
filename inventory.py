"""The hosts. Each is a name that SSH reaches, and the settings that only this host has; others are in group_data/all.py."""

hosts = [
    (
        "cal.example.org",
        {
            "hostname": "cal.example.org",
            # To log in as another user than root, set ssh_user, and _sudo to True.
        },
    ),
]
