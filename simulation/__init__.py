"""The whole system in one process under virtual time and one seed: real cores, modelled edges.

Posts, gateway and command centre are the classes that run on the Pi. Broker, links, disks, clocks
and people are models that fail on purpose. Nothing here may reach a real clock, disk or socket.
"""

import sys

if sys.implementation.name == "pypy":  # before any room asks for msgspec
    from simulation.structs import install

    install()
