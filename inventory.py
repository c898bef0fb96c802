"""The hosts. Each is a name that SSH reaches and what differs there; all other settings are in group_data/all.py."""

hosts = [
    (
        "cal.example.org",
        {
            "hostname": "cal.example.org",
            # For another user than root: ssh_user, and _sudo = True.
        },
    ),
]
