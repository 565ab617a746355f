"""An OPC UA server by asyncua, for tests: a tool with chambers whose values change.

Reads its settings as JSON from the first argument: port, chambers, tick (seconds), policy, certificate, key,
begin (of the count), clients (a folder of certificates that are trusted), users (name to password), namespaces.
Prints `ready`; then, for each line that comes: `lie NODE` (a text in a number), `array NODE`, `bad NODE`,
`burst N` (N counts at once), `services` (the names of the services that clients have asked for); it ends when its
input does.
"""

import asyncio
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server import uaprocessor
from asyncua.server.user_managers import UserManager


class Users(UserManager):
    def __init__(self, users):
        self.users = users

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if isinstance(password, bytes):
            password = password.decode()
        if username in self.users and self.users[username] == password:
            return User(role=UserRole.User, name=username)
        return None


def watch_services():
    """Notes the type of each request."""
    seen = set()
    names = {getattr(ua.ObjectIds, name): name for name in dir(ua.ObjectIds) if name.endswith("Request_Encoding_DefaultBinary")}
    inner = uaprocessor.UaProcessor._process_message

    async def process(self, typeid, *rest):
        seen.add(names.get(typeid.Identifier, str(typeid)).split("Request")[0])
        return await inner(self, typeid, *rest)

    uaprocessor.UaProcessor._process_message = process
    return seen


async def main():
    settings = json.loads(sys.argv[1])
    seen = watch_services()
    users = settings.get("users")
    server = Server(user_manager=Users(users) if users else None)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{settings['port']}/")
    await server.set_application_uri("urn:test:server")
    await server.set_build_info("urn:test:product", "Maker", "Etcher", "1.2", "34", datetime(2026, 1, 1))
    policy = settings.get("policy", "NoSecurity")
    server.set_security_policy([getattr(ua.SecurityPolicyType, policy)])
    if users:
        server.set_identity_tokens([ua.UserNameIdentityToken])
    if "certificate" in settings:
        await server.load_certificate(settings["certificate"])
        await server.load_private_key(settings["key"])
    if "clients" in settings:
        store = TrustStore([Path(settings["clients"])], [])
        await store.load()
        server.set_certificate_validator(CertificateValidator(CertificateValidatorOptions.TRUSTED_VALIDATION, store))
    for uri in settings.get("namespaces", []):
        await server.register_namespace(uri)
    space = await server.register_namespace("urn:test:tool")
    tool = await server.nodes.objects.add_object(space, "Tool")
    nodes = {}

    async def add(parent, path, name, value, kind=None, unit=None):
        node = await parent.add_variable(ua.NodeId(path, space), ua.QualifiedName(name, space), value, kind)
        if unit:
            about = ua.EUInformation("urn:units", 1, ua.LocalizedText(unit), ua.LocalizedText(unit))
            await node.add_property(ua.NodeId(path + ".EngineeringUnits", space), "0:EngineeringUnits", about)
        nodes[path] = node

    # A server that does not look at what its device gives it.
    server.iserver.aspace._is_expected_variant_type = lambda *_: True
    double, boolean = ua.VariantType.Double, ua.VariantType.Boolean
    await add(tool, "Count", "Count", 0, ua.VariantType.Int64)
    for number in range(1, settings.get("chambers", 1) + 1):
        name = f"Chamber{number}"
        chamber = await tool.add_object(ua.NodeId(name, space), ua.QualifiedName(name, space))
        await add(chamber, f"{name}.Pressure", "Pressure", 1.5, double, "Pa")
        await add(chamber, f"{name}.Door", "Door", True, boolean)
        await add(chamber, f"{name}.State", "State", ua.NodeClass.Object, None)
        await add(chamber, f"{name}.Recipe", "Recipe", "etch-7")
        await add(chamber, f"{name}.Profile", "Profile", [1.0, 2.0], double)

    count = settings.get("begin", 0)

    async def tick():
        nonlocal count
        while True:
            count += 1
            await server.write_attribute_value(nodes["Count"].nodeid, stamped(ua.Variant(count, ua.VariantType.Int64)))
            await asyncio.sleep(settings["tick"])

    def stamped(value, status=ua.StatusCodes.Good):
        return ua.DataValue(value, StatusCode=ua.StatusCode(status), SourceTimestamp=datetime.now(timezone.utc))

    async with server:
        ticking = asyncio.create_task(tick()) if settings.get("tick") else None
        print("ready", flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            command, *rest = line
            if command == "lie":
                await server.write_attribute_value(nodes[rest[0]].nodeid, stamped(ua.Variant(7, ua.VariantType.Int32)))
            elif command == "array":
                await server.write_attribute_value(nodes[rest[0]].nodeid, stamped(ua.Variant([1.0, 2.0], double)))
            elif command == "bad":
                value = stamped(ua.Variant(2.5, double), ua.StatusCodes.BadSensorFailure)
                await server.write_attribute_value(nodes[rest[0]].nodeid, value)
            elif command == "burst":
                for _ in range(int(rest[0])):
                    count += 1
                    await server.write_attribute_value(
                        nodes["Count"].nodeid, stamped(ua.Variant(count, ua.VariantType.Int64))
                    )
            print(json.dumps({"done": command, "count": count, "services": sorted(seen)}), flush=True)
        if ticking:
            ticking.cancel()


asyncio.run(main())
