# Hosts from Terraform: pyinfra's Terraform connector reads this output. Run it in the directory with the state:
#
#     pyinfra @terraform deploy.py
#
# Each key is a group (its data is in group_data/<group>.py). Each object is a host: the data for SSH, and its settings.
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
