// Holds manifests of app packages, one file each, to the schema that Microsoft publishes for
// their version. Prints what it refuses.
import Ajv from "ajv-draft-04";
import { readFileSync } from "node:fs";

const published = new URL("../node_modules/@microsoft/app-manifest/build/json-schemas/teams/", import.meta.url);
for (const file of process.argv.slice(2)) {
  const manifest = JSON.parse(readFileSync(file));
  const schema = JSON.parse(readFileSync(new URL(`v${manifest.manifestVersion}/MicrosoftTeams.schema.json`, published)));
  const validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(schema);
  if (!validate(manifest)) {
    for (const e of validate.errors) console.log(`${file}: ${e.instancePath} ${e.message}`);
    process.exitCode = 1;
  }
}
