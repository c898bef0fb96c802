"""Baïkal and other software in one deploy. baikal-deploy is a git submodule in the folder with its name."""

from pyinfra import local
from pyinfra.context import host
from pyinfra.operations import server

if "calendars" in host.groups:
    local.include("baikal-deploy/deploy.py")

server.shell(name="Deploy the other application", commands=["echo the other application"])
