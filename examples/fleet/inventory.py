"""A fleet: hosts in groups, in the order in which they are deployed.

    pyinfra examples/fleet/inventory.py deploy.py

The data of a group is in the file with its name in group_data/, next to this file; the data of all groups is in all.py there.
"""

canary = [
    ("cal-canary.example.org", {"hostname": "cal-canary.example.org"}),
]

europe = [
    (f"cal-{number:02}.eu.example.org", {"hostname": f"cal-{number:02}.eu.example.org"}) for number in range(1, 11)
]

america = [
    (f"cal-{number:02}.us.example.org", {"hostname": f"cal-{number:02}.us.example.org"}) for number in range(1, 11)
]
