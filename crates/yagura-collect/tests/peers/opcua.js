// An OPC UA server by node-opcua, for tests: a second implementation.
//
// The first argument is its settings as JSON: port, tick (milliseconds between changes of all variables), variables,
// sessions (that it permits), folder (for its certificates). It answers each line with the seconds of processor time that
// it has used. It runs in the folder that node-opcua-server is installed in, prints `ready`,
// and ends with its input.
"use strict";
const path = require("path");
const { createRequire } = require("module");
const load = createRequire(path.join(process.cwd(), "package.json"));
const { OPCUAServer } = load("node-opcua-server");
const { OPCUACertificateManager } = load("node-opcua-certificate-manager");
const { MessageSecurityMode, SecurityPolicy } = load("node-opcua-secure-channel");
const { Variant, DataType } = load("node-opcua-variant");
const { DataValue } = load("node-opcua-data-value");
const { StatusCodes } = load("node-opcua-status-code");

async function main() {
  const settings = JSON.parse(process.argv[2]);
  const certificates = new OPCUACertificateManager({ rootFolder: settings.folder, automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new OPCUAServer({
    port: settings.port,
    hostname: "127.0.0.1",
    serverCertificateManager: certificates,
    userCertificateManager: certificates,
    allowAnonymous: true,
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Aes256_Sha256_RsaPss, SecurityPolicy.Aes128_Sha256_RsaOaep],
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    serverInfo: { applicationUri: "urn:test:node-opcua" },
    maxConnectionsPerEndpoint: (settings.sessions ?? 100) + 100,
    serverCapabilities: { maxSessions: (settings.sessions ?? 100) + 100, maxSubscriptions: (settings.sessions ?? 100) + 100, operationLimits: settings.limits ?? {} },
    buildInfo: { manufacturerName: "Node maker", productName: "Coater", softwareVersion: "2.0", buildNumber: "7", buildDate: new Date(2026, 0, 1), productUri: "urn:test" },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.getOwnNamespace();
  const tool = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Coater" });
  const variables = [];
  for (let number = 0; number < settings.variables; number++) {
    variables.push(own.addVariable({ componentOf: tool, browseName: `V${number}`, nodeId: `s=V${number}`, dataType: "Double", minimumSamplingInterval: 0 }));
  }
  await server.start();
  let count = 0;
  const tick = () => {
    count++;
    const now = new Date();
    for (const variable of variables) {
      variable.setValueFromSource(new Variant({ dataType: DataType.Double, value: count }), StatusCodes.Good, now);
    }
  };
  tick();
  const timer = setInterval(tick, settings.tick);
  console.log("ready");
  process.stdin.on("data", () => {
    const used = process.cpuUsage();
    console.log((used.user + used.system) / 1e6);
  });
  process.stdin.on("end", async () => {
    clearInterval(timer);
    await server.shutdown(0);
    process.exit(0);
  });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
