"""A Modbus/TCP server with a few devices, some of them difficult.

Says `ready`, then a line for each request that it gets: the function's code and its first address.
"""

import asyncio
import sys

from pymodbus.constants import ExcCodes
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

PORT = int(sys.argv[1])
# How long the first answer about holding register 200 takes, in seconds.
SLOW = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0

# How often holding register 400 was read before.
READS = int(sys.argv[3]) if len(sys.argv) > 3 else 0

slow = [SLOW]


def say(*words):
    print(*words, flush=True)


async def difficult(function, start, address, count, registers, values):
    """Late about one register, broken about another; a third one counts how often it was read."""
    if values is not None:
        say("WRITTEN", function, address)
    if function == 3 and address <= 200 < address + count and slow[0] > 0:
        wait, slow[0] = slow[0], 0.0
        await asyncio.sleep(wait)
    if function == 3 and address <= 400 < address + count:
        registers[400 - start] = (registers[400 - start] + 1) % 65536
    if function == 4 and address <= 90 < address + count:
        return ExcCodes.DEVICE_FAILURE
    return None


async def away(function, start, address, count, registers, values):
    """Behind a gateway, and switched off."""
    return ExcCodes.GATEWAY_NO_RESPONSE


def words(address, *values):
    return SimData(address, values=list(values), datatype=DataType.REGISTERS)


def bits(address, *values):
    return SimData(address, values=list(values), datatype=DataType.BITS)


def traced(sending, pdu):
    if not sending:
        say(pdu.function_code, getattr(pdu, "address", 0))
    return pdu


async def main():
    holding = [
        # 123456.75 as a single, the lower register first.
        words(0, 0x2060, 0x47F1),
        words(2, 0xFFFE, 0x8001),
        words(8, *(int.from_bytes(part.encode(), "big") for part in ["RE", "CI", "PE", "-7"])),
        # Register 24 is not there.
        words(20, 20, 21, 22, 23),
        words(25, 25, 26, 27),
        words(200, 200),
        words(300, 300),
        words(400, READS),
    ]
    device = SimDevice(
        1,
        ([bits(0, *([True, False] * 8))], [bits(0, *([False] * 8 + [True] * 8))], holding, [words(0, 7), words(90, 9)]),
        action=difficult,
    )
    gone = SimDevice(2, ([bits(0, True)], [bits(0, True)], [words(0, 1)], [words(0, 1)]), action=away)
    identity = ModbusDeviceIdentification(
        info_name={"VendorName": "Pumpworks", "ProductCode": "PW-3", "MajorMinorRevision": "2.11", "ProductName": "Dry pump"}
    )
    server = ModbusTcpServer([device, gone], identity=identity, address=("127.0.0.1", PORT), trace_pdu=traced)
    await server.serve_forever(background=True)
    say("ready")
    await asyncio.Event().wait()


asyncio.run(main())
