"""What is the same for the whole fleet, over the defaults in the project's own group_data/all.py."""

# The canary alone, then two, then a quarter of all at a time; each batch must be healthy before the next begins.
batches = [1, 2, "25%"]

# Every host fetches the release by itself: 4 MB for each host would otherwise go through this machine's uplink.
baikal_download = "host"

# The operators' network.
admin_allow = ["192.0.2.0/24"]
