"""The hosts. Each is a name that SSH reaches and what differs there; all other settings are in group_data/all.py."""

hosts = [
    (
        "cal.example.org",
        {
            "hostname": "cal.example.org",
            # "ssh_user": "root",
            # For a user who isn't root: "_sudo": True
        },
    ),
]
