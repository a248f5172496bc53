// openai-node: each error has its class and facts; what is worth trying again is.

import assert from 'node:assert/strict'
import test from 'node:test'
import OpenAI from 'openai'
import {
  BUSY,
  HOPELESS,
  PLAY,
  gateway,
  key,
  others,
  rejection,
  steps,
} from './given.mjs'

const [picky, once] = others
const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0 })
const say = (...taken) => [{ role: 'user', content: steps(...taken) }]
const ask = (given, by = client) =>
  by.chat.completions.create({ model: PLAY, messages: say(['finish']), ...given })

test('whose key is wrong', async () => {
  const wrong = client.withOptions({ apiKey: 'kp-wrong-made-up-key' })
  const error = await rejection(ask({}, wrong), OpenAI.AuthenticationError, {
    status: 401,
    code: 'invalid_api_key',
    type: 'invalid_request_error',
    param: null,
  })
  assert.match(error.requestID, /^req_/)
})

test('whose key may not', async () => {
  const facts = { status: 403, code: 'forbidden', param: 'model' }
  await rejection(
    ask({}, client.withOptions({ apiKey: picky })),
    OpenAI.PermissionDeniedError,
    facts,
  )
})

test('what is not there', async () => {
  const facts = { status: 404, code: 'model_not_found', param: 'model' }
  await rejection(ask({ model: 'nobody' }), OpenAI.NotFoundError, facts)
  await rejection(client.post('/nowhere', { body: {} }), OpenAI.NotFoundError, {
    status: 404,
  })
})

test('what is wrong with the request', async () => {
  await rejection(ask({ temperature: 9 }), OpenAI.BadRequestError, {
    param: 'temperature',
  })
  await rejection(ask({ messages: [] }), OpenAI.BadRequestError, { param: 'messages' })
  await rejection(
    ask({ messages: say(['raise', 'ContentRefused']) }),
    OpenAI.BadRequestError,
  )
  const large = ask({ messages: say(['text', 'w'.repeat(2 ** 23)]) })
  await rejection(large, OpenAI.APIError, { status: 413 })
})

for (const stream of [false, true])
  test(`what is wrong with the upstream, stream: ${stream}`, async () => {
    const busy = await rejection(
      ask({ messages: say(BUSY), stream }),
      OpenAI.RateLimitError,
      {
        status: 429,
        code: 'accounts_busy',
      },
    )
    assert.ok(Number(busy.headers.get('retry-after')) > 0)
    const facts = { status: 503, code: 'no_usable_account' }
    await rejection(
      ask({ messages: say(HOPELESS), stream }),
      OpenAI.InternalServerError,
      facts,
    )
  })

test('too many requests of a key', async () => {
  const hasty = client.withOptions({ apiKey: once })
  await hasty.models.list()
  const error = await rejection(hasty.models.list(), OpenAI.RateLimitError, {
    status: 429,
  })
  assert.ok(Number(error.headers.get('retry-after')) > 0)
  assert.equal(error.headers.get('x-ratelimit-limit-requests'), '1')
})

test('a failure in mid-stream', async () => {
  const messages = say(['text', 'so far'], ['wait', 0.1], ['raise', 'UpstreamMoved'])
  const stream = await ask({ messages, stream: true })
  let read = ''
  const all = async () => {
    for await (const chunk of stream) {
      read += chunk.choices[0].delta.content
      assert.equal(chunk.choices[0].finish_reason, null)
    }
  }
  const error = await rejection(all(), OpenAI.APIError, { code: 'upstream_moved' })
  assert.match(error.message, /a scripted UpstreamMoved/)
  assert.equal(read, 'so far')
})

// How often they came is in the gateway's diary, which the Python side reads.
test('what is worth trying again is tried again', async () => {
  const patient = client.withOptions({ maxRetries: 2 })
  const busy = ask({ messages: say(BUSY), user: 'node-busy' }, patient)
  await rejection(busy, OpenAI.RateLimitError)
  const hopeless = ask({ messages: say(HOPELESS), user: 'node-hopeless' }, patient)
  await rejection(hopeless, OpenAI.InternalServerError)
})

test('what the headers tell', async () => {
  const asked = client.chat.completions.create({
    model: PLAY,
    messages: say(['text', 'hi'], ['finish']),
  })
  const { data, response, request_id } = await asked.withResponse()
  assert.equal(data.choices[0].message.content, 'hi')
  assert.equal(response.headers.get('x-kimi-proxy-route'), PLAY)
  assert.equal(response.headers.get('x-request-id'), request_id)
  assert.match(request_id, /^req_/)
})

test('a client that gives up says so', async () => {
  const slow = ask(
    { messages: say(['wait', 20], ['finish']), user: 'node-late' },
    client.withOptions({ timeout: 2000 }),
  )
  await rejection(slow, OpenAI.APIConnectionTimeoutError)
  const controller = new AbortController()
  const asked = {
    model: PLAY,
    messages: say(['text', 'a'], ['wait', 20], ['finish']),
    stream: true,
  }
  const stream = await client.chat.completions.create(asked, {
    signal: controller.signal,
  })
  for await (const chunk of stream) {
    assert.equal(chunk.choices[0].finish_reason, null)
    if (chunk.choices[0].delta.content) controller.abort()
  }
})
