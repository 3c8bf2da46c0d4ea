// Prints the syntax trees of Bicep files, and the contents of YAML files, as one
// JSON object by path. A node is {type, field, text, line, children}; text is
// there for leaves only. The grammar does not know the line "extension NAME",
// which is blanked first.
//
// usage: node parse.mjs FILE...
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const installed = createRequire(new URL('../../e2e/package.json', import.meta.url));
const { Parser, Language } = await import(installed.resolve('web-tree-sitter'));
const YAML = installed('yaml');

await Parser.init();
const parser = new Parser();
parser.setLanguage(await Language.load(installed.resolve('tree-sitter-bicep/tree-sitter-bicep.wasm')));

function node(n, field) {
  const out = { type: n.type, line: n.startPosition.row + 1 };
  if (field) out.field = field;
  if (n.isMissing) out.type = 'MISSING';
  if (n.childCount === 0) {
    out.text = n.type === '${' ? n.type : n.text;
    return out;
  }
  out.children = [];
  for (let i = 0; i < n.childCount; i++) {
    const child = n.child(i);
    // The grammar counts spaces before a closing quote as part of the quote, and
    // those between two interpolations as part of the second.
    let spaces = '';
    if (n.type === 'string' && child.type === "'") spaces = child.text.slice(0, -1);
    if (n.type === 'string' && child.type === 'interpolation') spaces = child.text.slice(0, child.text.indexOf('${'));
    if (spaces) out.children.push({ type: 'string_content', line: out.line, text: spaces });
    if (child.type !== 'comment') out.children.push(node(child, n.fieldNameForChild(i)));
  }
  return out;
}

const read = {};
for (const path of process.argv.slice(2)) {
  const text = readFileSync(path, 'utf8');
  read[path] = path.endsWith('.bicep')
    ? node(parser.parse(text.replace(/^extension .*$/gm, '')).rootNode)
    : YAML.parse(text);
}
process.stdout.write(JSON.stringify(read));
