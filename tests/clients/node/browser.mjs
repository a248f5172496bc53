// What a page does with the SDKs; tests/clients/test_browser.py bundles it and opens it in
// Chromium. `checks` run there, each by its name, on a page of an origin that may call.

import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'

const PLAY = 'scripted/play'
const WEB = 'kimi/k2d6-chat'
const POEM = '床前明月光，疑是地上霜。 naïve café 😀👩‍🚀🇨🇳'
const steps = (...taken) => [{ role: 'user', content: JSON.stringify(taken) }]

function same(actual, expected, what = 'it') {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (is !== should) throw new Error(`${what} is ${is} and not ${should}`)
}

async function rejection(promise, Kind, status) {
  const error = await promise.then(
    () => null,
    (caught) => caught,
  )
  if (!(error instanceof Kind)) throw new Error(`not ${Kind.name} but ${error}`)
  same(error.status, status, 'status')
  return error
}

const checks = {
  async 'a stream comes whole'({ openai }) {
    const silence = ['wait', 1] // which the gateway fills
    const said = steps(silence, ['text', 'a'], silence, ['text', POEM], ['finish'])
    const stream = await openai.chat.completions.create({
      model: PLAY,
      messages: said,
      stream: true,
    })
    const pieces = []
    for await (const chunk of stream) pieces.push(chunk.choices[0].delta.content)
    same(pieces.filter(Boolean), ['a', POEM])
  },

  async 'a web account answers, whole and by the stream helper'({ openai }) {
    const asked = { model: WEB, messages: [{ role: 'user', content: POEM }] }
    const { data, response } = await openai.chat.completions
      .create(asked)
      .withResponse()
    same(data.choices[0].message.content, `You said: ${POEM}`)
    same(response.headers.get('x-kimi-proxy-route'), WEB, 'the route')
    same(
      await openai.chat.completions.stream(asked).finalContent(),
      `You said: ${POEM}`,
    )
  },

  async 'responses stream'({ openai }) {
    const final = await openai.responses
      .stream({ model: WEB, input: POEM })
      .finalResponse()
    same(final.output_text, `You said: ${POEM}`)
    same((await openai.responses.retrieve(final.id)).id, final.id)
  },

  async 'models are listed and found'({ openai }) {
    same(
      (await openai.models.list()).data.some(({ id }) => id === WEB),
      true,
    )
    same((await openai.models.retrieve(WEB)).id, WEB)
  },

  async 'a file goes up, comes back and is deleted'({ openai }) {
    const file = new File([POEM], '报告.txt', { type: 'text/plain' })
    const made = await openai.files.create({ file, purpose: 'user_data' })
    same(made.filename, '报告.txt')
    same(await (await openai.files.content(made.id)).text(), POEM)
    same((await openai.files.delete(made.id)).deleted, true)
  },

  async 'a wrong key'({ openai }) {
    const wrong = openai.withOptions({ apiKey: 'kp-wrong-made-up-key' })
    const error = await rejection(wrong.models.list(), OpenAI.AuthenticationError, 401)
    same(error.code, 'invalid_api_key')
    same(/^req_/.test(error.requestID), true, 'a request id')
    same(/key/.test(error.message), true, 'a message')
  },

  async 'what is not there'({ openai }) {
    const error = await rejection(
      openai.models.retrieve('nobody'),
      OpenAI.NotFoundError,
      404,
    )
    same([error.code, error.param], ['model_not_found', 'model'])
    await rejection(openai.post('/nowhere', { body: {} }), OpenAI.NotFoundError, 404)
  },

  async 'too many requests'({ openai, once }) {
    const hasty = openai.withOptions({ apiKey: once })
    await hasty.models.list()
    const error = await rejection(hasty.models.list(), OpenAI.RateLimitError, 429)
    same(error.code, 'rate_limit_exceeded')
    same(Number(error.headers.get('retry-after')) > 0, true, 'retry-after')
    same(error.headers.get('x-ratelimit-limit-requests'), '1')
  },

  async 'a busy pool is tried again as the headers ask'({ openai }) {
    const busy = steps(['raise', 'PoolBusy', { retry_after: 0.05 }])
    const patient = openai.withOptions({ maxRetries: 2 })
    const asked = patient.chat.completions.create({
      model: PLAY,
      messages: busy,
      user: 'page-busy',
    })
    const error = await rejection(asked, OpenAI.RateLimitError, 429)
    same(error.code, 'accounts_busy')
  },

  async 'a failure in mid-stream'({ openai }) {
    const messages = steps(['text', 'so far'], ['raise', 'UpstreamMoved'])
    const stream = await openai.chat.completions.create({
      model: PLAY,
      messages,
      stream: true,
    })
    const read = async () => {
      for await (const _ of stream);
    }
    const error = await rejection(read(), OpenAI.APIError, undefined)
    same(error.code, 'upstream_moved')
  },

  async 'a stream comes piece by piece, and may be left'({ openai }) {
    const messages = steps(['text', 'a'], ['wait', 60], ['finish'])
    const stream = await openai.chat.completions.create({
      model: PLAY,
      messages,
      stream: true,
      user: 'page-left',
    })
    for await (const chunk of stream)
      if (chunk.choices[0].delta.content) stream.controller.abort()
  },

  async 'messages, whole and streamed'({ anthropic }) {
    const asked = {
      model: WEB,
      max_tokens: 1000,
      messages: [{ role: 'user', content: POEM }],
    }
    same((await anthropic.messages.create(asked)).content[0].text, `You said: ${POEM}`)
    same(await anthropic.messages.stream(asked).finalText(), `You said: ${POEM}`)
    same(
      (await anthropic.messages.countTokens({ model: WEB, messages: asked.messages }))
        .input_tokens > 0,
      true,
    )
    const beta = await anthropic.beta.messages.create({
      ...asked,
      betas: ['a-beta-2026-01-01'],
    })
    same(beta.content[0].type, 'text')
  },

  async 'errors of messages'({ anthropic }) {
    const asked = {
      model: 'nobody',
      max_tokens: 9,
      messages: [{ role: 'user', content: 'hi' }],
    }
    const error = await rejection(
      anthropic.messages.create(asked),
      Anthropic.NotFoundError,
      404,
    )
    same(error.type, 'not_found_error')
    same(/^req_/.test(error.requestID), true, 'a request id')
  },
}

/** What became of each check: "ok", or what went wrong. */
async function run(gateway, apiKey, once) {
  const settings = { apiKey, maxRetries: 0, dangerouslyAllowBrowser: true }
  const clients = {
    openai: new OpenAI({ baseURL: `${gateway}/v1`, ...settings }),
    anthropic: new Anthropic({ baseURL: gateway, ...settings }),
    once,
  }
  const found = {}
  for (const [name, check] of Object.entries(checks))
    found[name] = await check(clients).then(
      () => 'ok',
      (error) => `${error.stack ?? error}`,
    )
  return found
}

/** What both clients are told on a page that may not call. */
async function refused(gateway, apiKey) {
  const settings = { apiKey, maxRetries: 0, dangerouslyAllowBrowser: true }
  const openai = new OpenAI({ baseURL: `${gateway}/v1`, ...settings })
  const anthropic = new Anthropic({ baseURL: gateway, ...settings })
  const kind = (promise) =>
    promise.then(
      () => 'answered',
      (error) => error.constructor.name,
    )
  return [await kind(openai.models.list()), await kind(anthropic.models.list())]
}

Object.assign(globalThis, { run, refused })
