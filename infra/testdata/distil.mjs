// Writes types.json and azure-yaml.json: of the published definitions, the facts
// that the tests need, namely names, flags and allowed values. A property's type
// is followed only where the Bicep mentions the property's name.
//
// usage: node infra/testdata/distil.mjs DIR, after a resource type, an API version
// or a property was added. DIR holds
//   *_NAMESPACE_VERSION.json  types.json of Azure/bicep-types-az at 1f896de
//   msgraph_v1.0_1.0.0.types.json  of microsoftgraph/msgraph-bicep-types at bc43905
//   azure.yaml.schema.json  of Azure/azure-dev at ae35809
// The first two are MIT licensed, as is azure-dev.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

const from = process.argv[2];
const here = new URL('.', import.meta.url);
const read = (url) => readFileSync(url, 'utf8');
const bicep = ['../main.bicep', ...readdirSync(new URL('../modules/', here)).sort().map((f) => '../modules/' + f)]
  .map((f) => read(new URL(f, here))).join('\n');
const words = new Set(bicep.match(/[\w.]+/g).flatMap((w) => [w, ...w.split('.')]));
// Nested declarations name the last segment alone.
const nested = ['Microsoft.Network/virtualNetworks/subnets@2025-07-01'];
const wanted = new Set([...[...bicep.matchAll(/'([\w.]+\/[\w/]+@[\w.-]+)'/g)].map((m) => m[1]), ...nested].map((t) => t.toLowerCase()));

const out = {
  source: 'Azure/bicep-types-az at 1f896de, microsoftgraph/msgraph-bicep-types at bc43905 (MIT); made by distil.mjs',
  resources: {},
  types: {},
};

function distil(file) {
  const all = JSON.parse(readFileSync(`${from}/${file}`, 'utf8'));
  const prefix = file.replace(/_.*_/, '/').replace('.json', '');
  const at = (ref) => Number(ref.$ref.split('/').pop());

  function type(i) {
    const t = all[i];
    switch (t.$type) {
      case 'StringType': {
        const { $type, sensitive, ...limits } = t;
        return Object.keys(limits).length ? { string: limits } : 'string';
      }
      case 'StringLiteralType': return { literal: t.value };
      case 'IntegerType': return 'int';
      case 'BooleanType': return 'bool';
      case 'AnyType': return 'any';
      case 'UnionType': return { union: t.elements.map((e) => type(at(e))) };
      case 'ArrayType': return { array: type(at(t.itemType)) };
      case 'ObjectType': case 'DiscriminatedObjectType': return { ref: object(i, t) };
      default: throw new Error(`${file}: ${t.$type}`);
    }
  }

  function object(i, t) {
    const id = `${prefix}#${i}`;
    if (out.types[id]) return id;
    const fact = (out.types[id] = {});
    fact.properties = properties(t.properties ?? t.baseProperties ?? {});
    if (t.additionalProperties) fact.additional = type(at(t.additionalProperties));
    if (t.discriminator) {
      fact.discriminator = t.discriminator;
      fact.variants = {};
      for (const [value, ref] of Object.entries(t.elements)) {
        if (words.has(value) || bicep.includes(`'${value}'`)) fact.variants[value] = type(at(ref)).ref;
      }
    }
    return id;
  }

  function properties(of) {
    return Object.fromEntries(Object.entries(of).map(([name, p]) => {
      const followed = words.has(name) || name === 'id' || name === 'name' || name === 'type';
      const fact = { type: followed ? type(at(p.type)) : 'unread' };
      if (p.flags) fact.flags = p.flags;
      return [name, fact];
    }));
  }

  for (const t of all) {
    if (t.$type === 'ResourceType' && wanted.has(t.name.toLowerCase())) {
      out.resources[t.name] = type(at(t.body)).ref;
      wanted.delete(t.name.toLowerCase());
    }
  }
}

for (const file of readdirSync(from).sort()) {
  if (/\.json$/.test(file) && !/schema|index/.test(file)) distil(file);
}
if (wanted.size) throw new Error('not among the definitions: ' + [...wanted].join(', '));

const lines = (o) => Object.entries(o).map(([k, v]) => `    ${JSON.stringify(k)}: ${JSON.stringify(v)}`).join(',\n');
writeFileSync(new URL('types.json', here),
  `{\n  "source": ${JSON.stringify(out.source)},\n  "resources": {\n${lines(out.resources)}\n  },\n  "types": {\n${lines(out.types)}\n  }\n}\n`);

const schema = JSON.parse(readFileSync(`${from}/azure.yaml.schema.json`, 'utf8'));
const service = schema.properties.services.additionalProperties;
writeFileSync(new URL('azure-yaml.json', here), JSON.stringify({
  source: 'schemas/v1.0/azure.yaml.json of Azure/azure-dev at ae35809 (MIT); made by distil.mjs',
  required: schema.required,
  properties: Object.keys(schema.properties),
  requiredVersions: Object.keys(schema.properties.requiredVersions.properties),
  service: { required: service.required, properties: Object.keys(service.properties), hosts: service.properties.host.examples, languages: service.properties.language.examples },
  hooks: Object.keys(schema.properties.hooks.properties),
  hook: { properties: Object.keys(schema.definitions.hook.properties), shells: schema.definitions.hook.properties.shell.enum },
}, null, 2) + '\n');
