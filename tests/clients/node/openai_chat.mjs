// openai-node: chat completions, on every kind of upstream.

import assert from 'node:assert/strict'
import test from 'node:test'
import OpenAI from 'openai'
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import {
  CITY,
  FOUND,
  OBJECT,
  PLAY,
  PNG,
  SILENT,
  POEM,
  STEPS,
  THOUGHT,
  UPSTREAMS,
  WEATHER,
  Weather,
  gateway,
  key,
  listed,
  look,
  steps,
} from './given.mjs'

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0 })
const chats = client.chat.completions
const say = (content) => [{ role: 'user', content }]
const TOOL = { name: 'get_weather', description: 'The weather now.', parameters: CITY }

for (const model of UPSTREAMS) {
  test(`${model}: a whole answer`, async () => {
    const made = await chats.create({ model, messages: say(POEM) })
    const [choice] = made.choices
    assert.equal(choice.message.content, `You said: ${POEM}`)
    assert.equal(choice.message.role, 'assistant')
    assert.equal(choice.finish_reason, 'stop')
    assert.ok(made.usage.total_tokens > 0)
    assert.match(made._request_id, /^req_/)
  })

  test(`${model}: a streamed answer`, async () => {
    const stream = await chats.create({
      model,
      messages: say(POEM),
      stream: true,
      stream_options: { include_usage: true },
    })
    const chunks = await listed(stream)
    const last = chunks.pop()
    assert.deepEqual(last.choices, [])
    assert.ok(last.usage.completion_tokens > 0)
    const deltas = chunks.map((chunk) => chunk.choices[0].delta)
    assert.equal(deltas[0].role, 'assistant')
    assert.equal(deltas.map((d) => d.content ?? '').join(''), `You said: ${POEM}`)
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop')
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1)
  })

  test(`${model}: the stream helper`, async () => {
    const stream = chats.stream({
      model,
      messages: say(POEM),
      reasoning_effort: 'high',
    })
    const pieces = []
    stream.on('content', (piece) => pieces.push(piece))
    const final = await stream.finalChatCompletion()
    assert.equal(pieces.join(''), `You said: ${POEM}`)
    assert.equal(await stream.finalContent(), `You said: ${POEM}`)
    assert.equal(final.choices[0].finish_reason, 'stop')
    assert.ok(pieces.length > 3, 'it came in one piece')
  })

  test(`${model}: thinking`, async () => {
    const asked = { model, messages: say('weather of '), reasoning_effort: 'high' }
    const whole = await chats.create({ ...asked, messages: say(OBJECT) })
    assert.ok(whole.choices[0].message.reasoning_content.length > 0)
    const stream = await chats.create({ ...asked, messages: say(OBJECT), stream: true })
    const told = (await listed(stream)).map((c) => c.choices[0].delta.reasoning_content)
    assert.equal(told.join(''), THOUGHT)
  })

  test(`${model}: tools in a stream`, async () => {
    const stream = await chats.create({
      model,
      messages: say(STEPS),
      tools: [{ type: 'function', function: TOOL }],
      stream: true,
    })
    const chunks = await listed(stream)
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'tool_calls')
    const calls = []
    for (const part of chunks.flatMap((c) => c.choices[0].delta.tool_calls ?? [])) {
      assert.ok(part.index <= calls.length, 'a gap between indexes')
      if (part.index === calls.length) calls.push({ id: part.id, name: '', json: '' })
      calls[part.index].name += part.function.name ?? ''
      calls[part.index].json += part.function.arguments ?? ''
    }
    assert.deepEqual(
      calls.map((call) => call.name),
      ['get_weather', 'get_weather'],
    )
    assert.deepEqual(
      calls.map((call) => JSON.parse(call.json)),
      [{ city: 'Oslo' }, { city: 'Rome' }],
    )
    assert.equal(new Set(calls.map((call) => call.id)).size, 2)
  })

  for (const stream of [false, true]) {
    test(`${model}: its loop over tools, stream: ${stream}`, async () => {
      const asked = []
      const tool = {
        ...TOOL,
        parse: JSON.parse,
        function: (given) => asked.push(given) && look(given),
      }
      const runner = chats.runTools({
        model,
        messages: say(STEPS),
        stream,
        tools: [{ type: 'function', function: tool }],
      })
      assert.equal(await runner.finalContent(), FOUND)
      assert.deepEqual(
        asked.map((given) => given.city),
        ['Oslo', 'Rome', 'Paris'],
      )
    })
  }

  test(`${model}: tools described by zod are parsed`, async () => {
    const tool = zodFunction({
      name: 'get_weather',
      parameters: z.object({ city: z.string() }),
    })
    const made = await chats.parse({ model, messages: say(STEPS), tools: [tool] })
    const [call] = made.choices[0].message.tool_calls
    assert.deepEqual(call.function.parsed_arguments, { city: 'Oslo' })
  })

  test(`${model}: answers described by zod are parsed`, async () => {
    const response_format = zodResponseFormat(Weather, 'weather')
    const asked = { model, messages: say(OBJECT), response_format }
    const whole = await chats.parse(asked)
    assert.deepEqual(whole.choices[0].message.parsed, WEATHER)
    const stream = chats.stream(asked)
    const done = stream.emitted('content.done')
    const final = await stream.finalChatCompletion()
    assert.deepEqual(final.choices[0].message.parsed, WEATHER)
    assert.deepEqual((await done).parsed, WEATHER)
  })

  test(`${model}: a picture`, async () => {
    const image_url = { url: `data:image/png;base64,${PNG}` }
    const content = [
      { type: 'text', text: 'What is it?' },
      { type: 'image_url', image_url },
    ]
    const made = await chats.create({ model, messages: say(content) })
    assert.equal(made.choices[0].message.content, 'I see 1.')
  })

  test(`${model}: a stream that is left ends upstream`, async () => {
    // tests/clients/test_openai_node.py looks whether it did.
    const stream = await chats.create({
      model,
      messages: say('count slowly'),
      stream: true,
    })
    let read = ''
    for await (const chunk of stream) {
      read += chunk.choices[0].delta.content ?? ''
      if (read.length > 10) stream.controller.abort()
    }
    assert.ok(read.startsWith('0 1 2 3 4 '), read)
    assert.ok(!read.includes(' 599 '))
  })
}

test('silences are no events', async () => {
  const asked = { model: PLAY, messages: say(SILENT) }
  const chunks = await listed(await chats.create({ ...asked, stream: true }))
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1))
  assert.equal(await chats.stream(asked).finalContent(), 'ab')
})

test('a refusal', async () => {
  const asked = {
    model: PLAY,
    messages: say(steps(['refuse', 'No, '], ['refuse', 'sorry.'], ['finish'])),
  }
  const whole = await chats.create(asked)
  assert.equal(whole.choices[0].message.refusal, 'No, sorry.')
  const final = await chats.stream(asked).finalChatCompletion()
  assert.equal(final.choices[0].message.refusal, 'No, sorry.')
})

test('sources of a search', async () => {
  const cited = steps(['text', 'cold'], ['cite', 'https://a.example', 'A'], ['finish'])
  const made = await chats.create({ model: PLAY, messages: say(cited) })
  const [note] = made.choices[0].message.annotations
  assert.equal(note.url_citation.url, 'https://a.example')
})

test('many streams at a time do not mix', async () => {
  const one = async (number) => {
    const pieces = Array.from({ length: 20 }, (_, i) => ['text', `${number}.${i} `])
    const said = steps(...pieces.slice(0, 10), ['wait', 0.2], ...pieces.slice(10), [
      'finish',
    ])
    const stream = chats.stream({ model: PLAY, messages: say(said) })
    assert.equal(await stream.finalContent(), pieces.map(([, text]) => text).join(''))
  }
  await Promise.all(Array.from({ length: 50 }, (_, number) => one(number)))
})
