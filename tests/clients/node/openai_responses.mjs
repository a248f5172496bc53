// openai-node: the Responses API, on every kind of upstream.

import assert from 'node:assert/strict'
import test from 'node:test'
import OpenAI from 'openai'
import { ResponsesToolRunner } from 'openai/helpers/responses-tool-runner'
import { zodTextFormat } from 'openai/helpers/zod'
import {
  API,
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
  rejection,
  steps,
} from './given.mjs'

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0 })
const { responses } = client
const TOOL = {
  type: 'function',
  name: 'get_weather',
  description: 'The weather now.',
  parameters: CITY,
  strict: true,
}

for (const model of UPSTREAMS) {
  test(`${model}: a whole response`, async () => {
    const made = await responses.create({ model, input: POEM })
    assert.equal(made.output_text, `You said: ${POEM}`)
    assert.equal(made.status, 'completed')
    assert.ok(made.usage.total_tokens > 0)
    assert.match(made._request_id, /^req_/)
  })

  test(`${model}: a streamed response`, async () => {
    const events = await listed(
      await responses.create({ model, input: POEM, stream: true }),
    )
    assert.deepEqual(
      events.map((e) => e.sequence_number),
      events.map((_, n) => n),
    )
    assert.equal(events[0].type, 'response.created')
    assert.equal(events.at(-1).type, 'response.completed')
    const deltas = events.filter((e) => e.type === 'response.output_text.delta')
    assert.equal(deltas.map((e) => e.delta).join(''), `You said: ${POEM}`)
    assert.equal(
      events.at(-1).response.output.at(-1).content[0].text,
      `You said: ${POEM}`,
    )
  })

  test(`${model}: the stream helper, with thinking`, async () => {
    const stream = responses.stream({
      model,
      input: OBJECT,
      reasoning: { effort: 'high', summary: 'auto' },
      text: { format: zodTextFormat(Weather, 'weather') },
    })
    const said = []
    stream.on('response.output_text.delta', (event) => said.push(event.delta))
    const final = await stream.finalResponse()
    assert.deepEqual(final.output_parsed, WEATHER)
    assert.deepEqual(JSON.parse(said.join('')), WEATHER)
    const [thought] = final.output
    assert.equal(thought.type, 'reasoning')
    assert.equal(thought.summary[0].text, THOUGHT)
  })

  test(`${model}: answers described by zod are parsed`, async () => {
    const text = { format: zodTextFormat(Weather, 'weather') }
    const made = await responses.parse({ model, input: OBJECT, text })
    assert.deepEqual(made.output_parsed, WEATHER)
  })

  for (const store of [true, false]) {
    test(`${model}: a loop over tools, store: ${store}`, async () => {
      const history = [{ role: 'user', content: STEPS }]
      let previous = null
      const asked = []
      for (let turn = 0; ; turn += 1) {
        assert.ok(turn < 4, 'it does not end')
        const given = store ? history.slice(-2) : history
        const stream = responses.stream({
          model,
          tools: [TOOL],
          store,
          input: previous ? given : history.slice(0, 1),
          previous_response_id: store ? previous?.id : undefined,
          ...(store
            ? {}
            : { include: ['reasoning.encrypted_content'], input: history }),
        })
        const made = await stream.finalResponse()
        const calls = made.output.filter((item) => item.type === 'function_call')
        if (!calls.length) {
          assert.equal(made.output_text, FOUND)
          break
        }
        const results = calls.map(({ call_id, arguments: json, status }) => {
          assert.equal(status, 'completed')
          asked.push(JSON.parse(json).city)
          return {
            type: 'function_call_output',
            call_id,
            output: look(JSON.parse(json)),
          }
        })
        history.splice(store ? 0 : history.length, store ? history.length : 0)
        history.push(...(store ? [] : made.output), ...results)
        previous = made
      }
      assert.deepEqual(asked, ['Oslo', 'Rome', 'Paris'])
    })
  }

  for (const options of [{}, { stream: true }, { stream: true, eager: true }])
    test(`${model}: its own loop over tools, ${JSON.stringify(options)}`, async () => {
      const asked = []
      const execute = (given) => asked.push(given.city) && look(given)
      const runner = new ResponsesToolRunner({ functions: [{ tool: TOOL, execute }] })
      const final = await runner.run(client, { model, input: STEPS }, options)
      assert.equal(final.output_text, FOUND)
      assert.deepEqual(asked, ['Oslo', 'Rome', 'Paris'])
    })

  test(`${model}: a picture`, async () => {
    const content = [
      { type: 'input_text', text: 'What is it?' },
      {
        type: 'input_image',
        image_url: `data:image/png;base64,${PNG}`,
        detail: 'auto',
      },
    ]
    const made = await responses.create({ model, input: [{ role: 'user', content }] })
    assert.equal(made.output_text, 'I see 1.')
  })

  test(`${model}: what is stored is found, gone on with and deleted`, async () => {
    const first = await responses.create({ model, input: 'one', metadata: { a: 'b' } })
    const second = await responses.create({
      model,
      input: 'two',
      previous_response_id: first.id,
    })
    assert.ok(second.output_text.startsWith('You said: '))
    assert.equal(second.previous_response_id, first.id)
    const found = await responses.retrieve(first.id)
    assert.equal(found.output_text, first.output_text)
    assert.deepEqual(found.metadata, { a: 'b' })
    const items = await listed(responses.inputItems.list(second.id, { limit: 2 }))
    assert.deepEqual(
      items.filter((item) => item.role === 'user').map((item) => item.content[0].text),
      ['two', 'one'],
    )
    await responses.delete(first.id)
    await rejection(responses.retrieve(first.id), OpenAI.NotFoundError, { status: 404 })
    if (model === API) return // an unknown id may be one of the upstream's own
    const gone = responses.create({ model, input: 'x', previous_response_id: first.id })
    await rejection(gone, OpenAI.NotFoundError, { code: 'previous_response_not_found' })
  })
}

test('tokens are counted', async () => {
  const count = (given) => client.responses.inputTokens.count({ model: PLAY, ...given })
  const bare = await count({ input: POEM })
  assert.equal(bare.object, 'response.input_tokens')
  const more = await count({ input: POEM, tools: [TOOL] })
  assert.ok(more.input_tokens > bare.input_tokens && bare.input_tokens > 10)
})

test('silences are no events', async () => {
  const stream = await responses.create({ model: PLAY, input: SILENT, stream: true })
  const events = await listed(stream)
  assert.ok(events.every((event) => event.type.startsWith('response.')))
  assert.equal(events.at(-1).response.output_text, undefined)
  const final = await responses.stream({ model: PLAY, input: SILENT }).finalResponse()
  assert.equal(final.output_text, 'ab')
})

test('a refusal', async () => {
  const made = await responses.create({
    model: PLAY,
    input: steps(['refuse', 'Sorry.'], ['finish']),
  })
  assert.deepEqual(made.output[0].content, [{ type: 'refusal', refusal: 'Sorry.' }])
})

test('an answer that is cut says so', async () => {
  const input = steps(['text', 'one two three four five'], ['finish'])
  const made = await responses.create({ model: PLAY, input, max_output_tokens: 16 })
  assert.equal(made.status, 'completed')
  const cut = steps(['text', 'one'], ['finish', 'length'])
  const short = await responses.create({ model: PLAY, input: cut })
  assert.equal(short.status, 'incomplete')
  assert.equal(short.incomplete_details.reason, 'max_output_tokens')
})

test('a failure in mid-stream ends the response as failed', async () => {
  const input = steps(['text', 'so far'], ['wait', 0.1], ['raise', 'UpstreamMoved'])
  const events = await listed(
    await responses.create({ model: PLAY, input, stream: true }),
  )
  const { type, response } = events.at(-1)
  assert.equal(type, 'response.failed')
  assert.equal(response.error.code, 'server_error')
  assert.match(response.error.message, /a scripted UpstreamMoved/)
})
