"""Provision Baïkal: pyinfra inventory.py deploy.py, or pyinfra @docker/ubuntu:24.04 deploy.py for an image.

The table of contents. Each host is surveyed first, so that whatever is wrong is said before anything is touched.
"""

from pyinfra.context import host

from tasks import baikal, check, database, image, mail, packages, tls, web
from tasks.rollout import in_batches
from tasks.survey import survey

target = survey(host)  # what is wanted, what the host is; stops here if they don't fit

for _ in in_batches(host, target.batches):  # once: for all hosts together, or when its batch's turn comes
    mail.prepare(target=target)  # nothing that waits in a queue is lost when its mail server goes
    database.prepare(target=target)  # a server that was there before is somebody's own
    packages.install(target=target)
    baikal.install(target=target)

    # What needs a booted machine; an image skips it, and its container does the same when it starts
    # (baikalctl/container/start.py).
    baikal.configure(target=target)
    web.activate(target=target)
    tls.activate(target=target)
    mail.activate(target=target)
    check.activate(target=target)

    image.finish(target=target)
    image.tag(target=target)
