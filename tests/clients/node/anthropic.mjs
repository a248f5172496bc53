// Anthropic's TypeScript SDK: messages on every kind of upstream, and all around them.

import assert from 'node:assert/strict'
import test from 'node:test'
import Anthropic from '@anthropic-ai/sdk'
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod'
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod'
import { z } from 'zod'
import {
  BUSY,
  CITY,
  FOUND,
  HOPELESS,
  OBJECT,
  PLAY,
  PNG,
  SILENT,
  POEM,
  STEPS,
  THOUGHT,
  UPSTREAMS,
  WEATHER,
  WEB,
  Weather,
  gateway,
  key,
  listed,
  look,
  others,
  rejection,
  steps,
} from './given.mjs'

const [picky] = others
const client = new Anthropic({ baseURL: gateway, apiKey: key, maxRetries: 0 })
const max_tokens = 4096
const say = (content) => ({ max_tokens, messages: [{ role: 'user', content }] })
const TOOL = {
  name: 'get_weather',
  description: 'The weather now.',
  input_schema: CITY,
}
const thinking = { type: 'enabled', budget_tokens: 2048 }
const textOf = (message) => message.content.find((block) => block.type === 'text')?.text

for (const model of UPSTREAMS) {
  test(`${model}: a whole message`, async () => {
    const made = await client.messages.create({ model, ...say(POEM) })
    assert.deepEqual(
      made.content.map((block) => block.type),
      ['text'],
    )
    assert.equal(textOf(made), `You said: ${POEM}`)
    assert.equal(made.role, 'assistant')
    assert.equal(made.stop_reason, 'end_turn')
    assert.ok(made.usage.input_tokens > 0 && made.usage.output_tokens > 0)
    assert.match(made._request_id, /^req_/)
  })

  test(`${model}: a streamed message`, async () => {
    const events = await listed(
      await client.messages.create({ model, ...say(POEM), stream: true }),
    )
    assert.equal(events[0].type, 'message_start')
    assert.ok(events[0].message.usage.input_tokens > 0)
    assert.equal(events.at(-1).type, 'message_stop')
    const deltas = events.filter((event) => event.type === 'content_block_delta')
    assert.equal(deltas.map((event) => event.delta.text).join(''), `You said: ${POEM}`)
  })

  test(`${model}: the stream helper, with thinking that goes round`, async () => {
    const pieces = []
    const thoughts = []
    const stream = client.messages.stream({
      model,
      thinking,
      ...say(OBJECT + ' of degrees'),
    })
    stream.on('text', (piece) => pieces.push(piece))
    stream.on('thinking', (piece) => thoughts.push(piece))
    const final = await stream.finalMessage()
    assert.equal(thoughts.join(''), THOUGHT)
    assert.equal(final.content[0].thinking, THOUGHT)
    assert.ok(final.content[0].signature)
    assert.equal(pieces.join(''), await stream.finalText())
    const again = await client.messages.create({
      model,
      max_tokens,
      thinking,
      messages: [
        ...say(POEM).messages,
        { role: 'assistant', content: final.content },
        ...say('so?').messages,
      ],
    })
    assert.match(textOf(again), /so\?/)
  })

  test(`${model}: tools in a stream`, async () => {
    const stream = client.messages.stream({ model, tools: [TOOL], ...say(STEPS) })
    const inputs = []
    stream.on('inputJson', (_, snapshot) => inputs.push(snapshot))
    const final = await stream.finalMessage()
    assert.equal(final.stop_reason, 'tool_use')
    const calls = final.content.filter((block) => block.type === 'tool_use')
    assert.deepEqual(
      calls.map((call) => call.input),
      [{ city: 'Oslo' }, { city: 'Rome' }],
    )
    assert.equal(new Set(calls.map((call) => call.id)).size, 2)
    assert.deepEqual(inputs.at(-1), { city: 'Rome' })
    assert.equal(final.content[0].type, 'text')
  })

  for (const stream of [false, true])
    test(`${model}: its loop over tools, stream: ${stream}`, async () => {
      const asked = []
      const tool = betaZodTool({
        ...TOOL,
        inputSchema: z.object({ city: z.string() }),
        run: (given) => asked.push(given.city) && look(given),
      })
      const runner = client.beta.messages.toolRunner({
        model,
        ...say(STEPS),
        tools: [tool],
        stream,
      })
      const final = await runner.runUntilDone()
      assert.equal(textOf(final), FOUND)
      assert.deepEqual(asked, ['Oslo', 'Rome', 'Paris'])
    })

  test(`${model}: answers described by zod are parsed`, async () => {
    const output_config = { format: zodOutputFormat(Weather) }
    const made = await client.messages.parse({ model, ...say(OBJECT), output_config })
    assert.deepEqual(made.parsed_output, WEATHER)
    const final = await client.messages
      .stream({ model, ...say(OBJECT), output_config })
      .finalMessage()
    assert.deepEqual(final.parsed_output, WEATHER)
  })

  test(`${model}: pictures and documents`, async () => {
    const source = { type: 'base64', media_type: 'image/png', data: PNG }
    const text = { type: 'text', text: 'What is it?' }
    const made = await client.messages.create({
      model,
      ...say([{ type: 'image', source }, text]),
    })
    assert.equal(textOf(made), 'I see 1.')
    const document = {
      type: 'text',
      media_type: 'text/plain',
      data: 'a made-up report',
    }
    const read = await client.messages.create({
      model,
      ...say([{ type: 'document', source: document }, text]),
    })
    assert.match(textOf(read), /a made-up report/)
  })

  test(`${model}: a stream that is left ends upstream`, async () => {
    // tests/clients/test_anthropic_ts.py looks whether it did.
    const stream = client.messages.stream({ model, ...say('count slowly, Anthropic') })
    const read = async () => {
      for await (const event of stream)
        if (event.type === 'content_block_delta') stream.abort()
    }
    await rejection(read(), Anthropic.APIUserAbortError)
  })
}

test('silences are no events', async () => {
  const stream = client.messages.stream({ model: PLAY, ...say(SILENT) })
  assert.equal(await stream.finalText(), 'ab')
})

test('tokens are counted', async () => {
  const asked = { model: WEB, messages: say(POEM).messages }
  const bare = await client.messages.countTokens(asked)
  const more = await client.messages.countTokens({
    ...asked,
    system: 'Be brief.',
    tools: [TOOL],
  })
  assert.ok(more.input_tokens > bare.input_tokens && bare.input_tokens > 10)
})

test('models are listed and found', async () => {
  const page = await client.models.list({ limit: 1 })
  assert.equal(page.has_more, false)
  const names = (await listed(page)).map((model) => model.id)
  for (const name of UPSTREAMS)
    assert.ok(names.includes(name), `${name} is not in ${names}`)
  const found = await client.models.retrieve(WEB)
  assert.equal(found.type, 'model')
  assert.ok(found.display_name && !Number.isNaN(Date.parse(found.created_at)))
  await rejection(client.models.retrieve('deep/nobody'), Anthropic.NotFoundError, {
    status: 404,
  })
})

test('files are stored, read, used and deleted', async () => {
  const { files } = client.beta
  const made = await files.upload({
    file: new File([POEM], '报告.txt', { type: 'text/plain' }),
  })
  assert.deepEqual([made.type, made.filename], ['file', '报告.txt'])
  assert.deepEqual(await files.retrieveMetadata(made.id), made)
  assert.ok(
    (await listed(files.list({ limit: 1 }))).some((file) => file.id === made.id),
  )
  assert.equal(await (await files.download(made.id)).text(), POEM)
  const document = { type: 'document', source: { type: 'file', file_id: made.id } }
  const answer = await client.beta.messages.create({
    model: WEB,
    ...say([document, { type: 'text', text: 'What is it?' }]),
    betas: ['files-api-2025-04-14'],
  })
  assert.equal(textOf(answer), 'I see 1.')
  assert.equal((await files.delete(made.id)).type, 'file_deleted')
  await rejection(files.retrieveMetadata(made.id), Anthropic.NotFoundError, {
    type: 'not_found_error',
  })
})

test('betas and names of its own models are understood', async () => {
  const made = await client.beta.messages.create({
    model: 'claude-opus-4-5',
    ...say('hi'),
    betas: ['interleaved-thinking-2025-05-14', 'a-beta-2026-01-01'],
  })
  assert.equal(textOf(made), 'You said: hi')
  const counted = await client.beta.messages.countTokens({
    model: 'claude-opus-4-5',
    messages: say('hi').messages,
    betas: ['token-counting-2024-11-01'],
  })
  assert.ok(counted.input_tokens > 0)
})

test('how an answer ends', async () => {
  const cut = await client.messages.create({
    model: PLAY,
    ...say(steps(['text', 'a END b'], ['finish'])),
    stop_sequences: ['END'],
  })
  assert.deepEqual([cut.stop_reason, cut.stop_sequence], ['stop_sequence', 'END'])
  const refused = await client.messages.create({
    model: PLAY,
    ...say(steps(['text', 'a'], ['finish', 'content_filter'])),
  })
  assert.equal(refused.stop_reason, 'refusal')
  const short = await client.messages.create({
    model: PLAY,
    ...say(steps(['text', 'one two three four'], ['finish'])),
    max_tokens: 2,
  })
  assert.equal(short.stop_reason, 'max_tokens')
})

test('sources of a search', async () => {
  const final = await client.messages
    .stream({
      model: PLAY,
      tools: [{ type: 'web_search_20250305', name: 'web_search' }],
      ...say(steps(['text', 'a'], ['cite', 'https://a.example', 'A'], ['finish'])),
    })
    .finalMessage()
  assert.equal(final.content[0].citations[0].url, 'https://a.example')
})

test('errors have their classes', async () => {
  const ask = (...taken) =>
    client.messages.create({ model: PLAY, ...say(steps(...taken)) })
  const by = (apiKey) =>
    client.withOptions({ apiKey }).messages.create({ model: PLAY, ...say('hi') })
  const wrong = await rejection(
    by('kp-wrong-made-up-key'),
    Anthropic.AuthenticationError,
    { status: 401 },
  )
  assert.equal(wrong.type, 'authentication_error')
  assert.match(wrong.requestID, /^req_/)
  assert.equal(wrong.error.request_id, wrong.requestID)
  await rejection(by(picky), Anthropic.PermissionDeniedError, {
    type: 'permission_error',
  })
  const nobody = client.messages.create({ model: 'nobody', ...say('hi') })
  await rejection(nobody, Anthropic.NotFoundError, { type: 'not_found_error' })
  await rejection(ask(['raise', 'ContentRefused']), Anthropic.BadRequestError)
  await rejection(ask(['raise', 'ConversationBusy']), Anthropic.ConflictError)
  await rejection(ask(['text', 'w'.repeat(2 ** 23)]), Anthropic.ContentTooLargeError, {
    status: 413,
  })
  const busy = await rejection(ask(BUSY), Anthropic.RateLimitError, {
    type: 'rate_limit_error',
  })
  assert.ok(Number(busy.headers.get('retry-after')) > 0)
  await rejection(ask(HOPELESS), Anthropic.ServiceUnavailableError, { status: 503 })
  await rejection(ask(['raise', 'UpstreamTimeout']), Anthropic.GatewayTimeoutError, {
    status: 504,
  })
})

test('a failure in mid-stream', async () => {
  const said = steps(['text', 'so far'], ['wait', 0.1], ['raise', 'UpstreamMoved'])
  const stream = client.messages.stream({ model: PLAY, ...say(said) })
  let read = ''
  stream.on('text', (piece) => {
    read += piece
  })
  const error = await rejection(stream.finalMessage(), Anthropic.APIError, {
    type: 'api_error',
  })
  assert.match(error.message, /a scripted UpstreamMoved/)
  assert.equal(read, 'so far')
})

test('what is worth trying again is tried again', async () => {
  const patient = client.withOptions({ maxRetries: 2 })
  const ask = (taken, user_id) =>
    patient.messages.create({
      model: PLAY,
      ...say(steps(taken)),
      metadata: { user_id },
    })
  await rejection(ask(BUSY, 'ts-busy'), Anthropic.RateLimitError)
  await rejection(ask(HOPELESS, 'ts-hopeless'), Anthropic.ServiceUnavailableError)
})
