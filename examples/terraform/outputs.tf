# The hosts come from Terraform: pyinfra's own connector reads this output. Run where the state is:
#
#     pyinfra @terraform deploy.py
#
# Each key is a group (its data goes to group_data/<group>.py), each object a host: what SSH needs, and its settings.
output "pyinfra_inventory" {
  value = {
    calendars = [
      for server in hcloud_server.calendar : {
        name         = server.name
        ssh_hostname = server.ipv4_address
        ssh_user     = "root"
        hostname     = "${server.name}.example.org"
      }
    ]
  }
}
