// Reads objects from a file (YAML, several documents) and prints as JSON what in them breaks the restricted profile of Pod Security.
import {readFileSync} from 'node:fs';
import {parseAllDocuments} from 'yaml';
import * as monokle from '@monokle/validation';

// Controls of the baseline profile, then those that the restricted one adds. Some are off unless they are named.
const CONTROLS = [
  'host-process', 'host-namespaces', 'privileged-containers', 'capabilities', 'host-path-volumes', 'host-ports', 'app-armor', 'selinux',
  'proc-mount', 'seccomp', 'sysctls',
  'volume-types', 'privilege-escalation', 'running-as-non-root', 'running-as-non-root-user', 'seccomp-strict', 'capabilities-strict',
];
const contents = parseAllDocuments(readFileSync(process.argv[2], 'utf8')).map(document => document.toJS()).filter(Boolean);
const resources = contents.map((content, index) => ({
  id: String(index), fileId: String(index), filePath: `${content.kind}/${content.metadata.name}`, fileOffset: 0,
  name: content.metadata.name, namespace: content.metadata.namespace, apiVersion: content.apiVersion, kind: content.kind,
  content, text: JSON.stringify(content),
}));
// Without a loader of plug-ins and schemas from elsewhere: nothing is fetched.
const validator = new monokle.MonokleValidator({
  loader: new monokle.RemotePluginLoader(monokle.requireFromStringCustomPluginLoader), parser: new monokle.ResourceParser(),
  schemaLoader: new monokle.SchemaLoader(), suppressors: [], fixer: new monokle.DisabledFixer(),
});
await validator.preload({
  plugins: {'pod-security-standards': true},
  rules: Object.fromEntries(CONTROLS.map(name => [`pod-security-standards/${name}`, 'err'])),
});
const known = new Set(Object.values(validator.rules).flat().map(rule => rule.name));
const missing = CONTROLS.filter(name => !known.has(name));
if (missing.length > 0) throw new Error(`the validator has no control ${missing.join(', ')}`);
const report = await validator.validate({resources});
const findings = report.runs.flatMap(run => run.results.map(result => ({
  rule: result.ruleId, object: result.locations[0].physicalLocation.artifactLocation.uri, text: result.message.text,
})));
process.stdout.write(JSON.stringify(findings) + '\n');
