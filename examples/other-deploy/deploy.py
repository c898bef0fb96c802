"""Baïkal next to something else: baikal-deploy is a git submodule in the folder of the same name."""

from pyinfra import local
from pyinfra.context import host
from pyinfra.operations import server

if "calendars" in host.groups:
    local.include("baikal-deploy/deploy.py")

server.shell(name="Deploy the other application", commands=["echo the other application"])
