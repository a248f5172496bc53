// openai-node: everything beside chats and responses.

import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import test from 'node:test'
import OpenAI, { toFile } from 'openai'
import { API, POEM, UPSTREAMS, WEB, gateway, key, listed, rejection } from './given.mjs'

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0 })

test('models are listed and found', async () => {
  const names = (await listed(client.models.list())).map((model) => model.id)
  for (const name of ['echo', 'scripted/deep/er/model', ...UPSTREAMS]) {
    assert.ok(names.includes(name), `${name} is not in ${names}`)
    const found = await client.models.retrieve(name)
    assert.equal(found.id, name)
    assert.equal(found.object, 'model')
  }
  const missing = client.models.retrieve('deep/nobody')
  await rejection(missing, OpenAI.NotFoundError, { code: 'model_not_found' })
})

test('files are stored, read, used and deleted', async () => {
  const content = Buffer.from('内容 of a report')
  const sent = await toFile(content, '报告.txt', { type: 'text/plain' })
  const made = await client.files.create({ file: sent, purpose: 'user_data' })
  assert.equal(made.filename, '报告.txt')
  assert.equal(made.bytes, content.length)
  assert.deepEqual((await client.files.retrieve(made.id)).id, made.id)
  const all = await listed(client.files.list())
  assert.ok(all.some((file) => file.id === made.id))
  const back = await client.files.content(made.id)
  assert.deepEqual(Buffer.from(await back.arrayBuffer()), content)
  const chat = await client.chat.completions.create({
    model: WEB,
    messages: [
      {
        role: 'user',
        content: [
          { type: 'file', file: { file_id: made.id } },
          { type: 'text', text: '?' },
        ],
      },
    ],
  })
  assert.equal(chat.choices[0].message.content, 'I see 1.')
  const response = await client.responses.create({
    model: WEB,
    input: [
      {
        role: 'user',
        content: [
          { type: 'input_file', file_id: made.id },
          { type: 'input_text', text: '?' },
        ],
      },
    ],
  })
  assert.equal(response.output_text, 'I see 1.')
  assert.equal((await client.files.delete(made.id)).deleted, true)
  await rejection(client.files.retrieve(made.id), OpenAI.NotFoundError, {
    param: 'file_id',
  })
})

test('a file that is read while it goes up', async () => {
  // Its length is told nowhere: the body comes in chunks.
  const file = createReadStream(process.execPath, { end: 2_999_999 })
  const made = await client.files.create({ file, purpose: 'user_data' })
  assert.equal(made.bytes, 3_000_000)
  await client.files.delete(made.id)
})

// The upstream's own, handed through; a web account has neither.
test('embeddings', async () => {
  const made = await client.embeddings.create({
    model: 'up/text-embedding-3-small',
    input: ['one', 'two'],
  })
  assert.equal(made.data.length, 2)
  assert.equal(made.data[0].embedding.length, 8)
  assert.ok(made.data[0].embedding.every(Number.isFinite))
  const web = client.embeddings.create({ model: WEB, input: 'one' })
  await rejection(web, OpenAI.BadRequestError)
})

test('completions of old', async () => {
  const asked = { model: API, prompt: POEM }
  const made = await client.completions.create(asked)
  assert.equal(made.choices[0].text, `You said: ${POEM}`)
  const chunks = await listed(
    await client.completions.create({ ...asked, stream: true }),
  )
  assert.equal(
    chunks.map((chunk) => chunk.choices[0].text).join(''),
    `You said: ${POEM}`,
  )
})
