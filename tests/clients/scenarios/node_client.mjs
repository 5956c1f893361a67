// What people do with @kubernetes/client-node: list, create, patch, watch, an informer; exec where POD names a pod that runs.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.CLIENT_NODE_PLACE + '/package.json');
const k8s = await import(pathToFileURL(require.resolve('@kubernetes/client-node')).href);
const namespace = process.env.NAMESPACE;
const config = new k8s.KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(k8s.CoreV1Api);

async function listsAndWrites() {
  const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'one' }, data: { a: '1' } } });
  assert.ok(made.metadata.uid);
  const listed = await core.listNamespacedConfigMap({ namespace, fieldSelector: 'metadata.name=one' });
  assert.deepEqual(listed.items.map((item) => item.data), [{ a: '1' }]);
  made.data.b = '2';
  const replaced = await core.replaceNamespacedConfigMap({ name: 'one', namespace, body: made });
  assert.deepEqual(replaced.data, { a: '1', b: '2' });
  await assert.rejects(core.readNamespacedConfigMap({ name: 'none', namespace }), (error) => error.code === 404);
}

async function watches() {
  const start = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
  const seen = [];
  await new Promise((resolve, reject) => {
    new k8s.Watch(config).watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      { resourceVersion: start, fieldSelector: 'metadata.name=two' },
      (type, item) => {
        seen.push([type, item.metadata.name]);
        if (type === 'DELETED') resolve();
      },
      (error) => (seen.length < 2 ? reject(error ?? new Error('ended early')) : resolve()),
    ).then(async () => {
      await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'two' } } });
      await core.deleteNamespacedConfigMap({ name: 'two', namespace });
    }, reject);
  });
  assert.deepEqual(seen, [['ADDED', 'two'], ['DELETED', 'two']]);
}

async function informs() {
  const list = () => core.listNamespacedConfigMap({ namespace });
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list);
  const three = new Promise((resolve, reject) => {
    informer.on('add', (item) => item.metadata.name === 'three' && resolve());
    informer.on('error', reject);
  });
  await informer.start();
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'three' } } });
  await three;
  await informer.stop();
}

async function applies() {
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'four', namespace }, data: { a: '1' } };
  await objects.create(body);
  const patched = await objects.patch({ ...body, data: { a: '2' } });
  assert.deepEqual(patched.data, { a: '2' });
}

async function executes(pod) {
  const pieces = [];
  const out = new Writable({ write(piece, _, done) { pieces.push(piece.toString()); done(); } });
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config)
      .exec(namespace, pod, undefined, ['sh', '-c', 'echo from node; exit 3'], out, null, null, false, resolve)
      .catch(reject);
  });
  assert.equal(pieces.join(''), 'from node\n');
  assert.equal(status.status, 'Failure');
  assert.equal(status.details.causes[0].message, '3');
}

const steps = process.env.POD ? [() => executes(process.env.POD)] : [listsAndWrites, watches, informs, applies];
for (const step of steps) {
  await step();
  console.log(`passed ${step.name || 'executes'}`);
}
process.exit(0);
