import { tracingChannel } from "node:diagnostics_channel";

tracingChannel("net.server.listen").subscribe({
  asyncEnd({ server }) {
    console.log(`preload: port ${server.address().port}`);
  },
});
process.stdin.on("end", () => process.exit()).resume();
