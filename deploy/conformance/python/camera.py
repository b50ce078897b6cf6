"""aiortc as master of a new channel, for players of other programs: `camera.py NAME`. Ends when it is killed, or when its standard input
ends.
"""

import asyncio
import sys

from broker import CA, HTTPS, control
from test_media import Broker, Camera


class Running(Broker):
    """The broker of the environment."""

    def __init__(self):
        self.listen, self.authority = [None, HTTPS], CA


async def main(name):
    arn = control().create_signaling_channel(ChannelName=name)["ChannelARN"]
    camera = Camera(Running(), arn)
    serving = asyncio.create_task(camera.supervised())
    await camera.connected.wait()
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    serving.cancel()
    await camera.close()


asyncio.run(main(sys.argv[1]))
