"""delaying_link.py A B SECONDS: makes two network interfaces, and carries every packet of one to the other, where it
arrives SECONDS later. Until it is killed."""

import collections
import fcntl
import os
import struct
import sys
import threading
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def interface(name):
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def carry(source, sink, delay):
    packets = collections.deque()
    arrived = threading.Condition()

    def deliver():
        while True:
            with arrived:
                arrived.wait_for(lambda: packets)
                due, packet = packets.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                os.write(sink, packet)
            except OSError:
                pass  # the interface is down: the packet is lost, as on any network

    threading.Thread(target=deliver, daemon=True).start()
    while True:
        try:
            packet = os.read(source, 65536)
        except OSError:
            os._exit(0)  # the interface is gone, with its namespace
        with arrived:
            packets.append((time.monotonic() + delay, packet))
            arrived.notify()


a, b = interface(sys.argv[1]), interface(sys.argv[2])
delay = float(sys.argv[3])
threading.Thread(target=carry, args=(a, b, delay), daemon=True).start()
carry(b, a, delay)
