"""Settings of the whole fleet. They replace the defaults in the project's group_data/all.py."""

# The canary alone, then two hosts, then a quarter of all at a time. Each batch must be healthy before the next begins.
batches = [1, 2, "25%"]

# Every host downloads the release. Otherwise 4 MB for each host would go through this computer's uplink.
baikal_download = "host"

# The operators' network.
admin_allow = ["192.0.2.0/24"]
