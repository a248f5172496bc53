// The Vercel AI SDK: each of its providers that speaks a dialect of the gateway's.

import assert from 'node:assert/strict'
import test from 'node:test'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import {
  APICallError,
  Output,
  RetryError,
  ToolLoopAgent,
  embedMany,
  generateObject,
  generateText,
  isStepCount,
  streamObject,
  streamText,
  tool,
} from 'ai'
import { z } from 'zod'
import {
  API,
  BUSY,
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

globalThis.AI_SDK_LOG_WARNINGS = false

const baseURL = `${gateway}/v1`
const openai = createOpenAI({ baseURL, apiKey: key })
const compatible = createOpenAICompatible({
  baseURL,
  apiKey: key,
  name: 'gateway',
  includeUsage: true,
  supportsStructuredOutputs: true,
})
const anthropic = createAnthropic({ baseURL, apiKey: key })
const PROVIDERS = {
  'openai, chat': openai.chat,
  'openai, responses': openai.responses,
  'openai-compatible': compatible.chatModel,
  anthropic,
}
const tools = {
  get_weather: tool({
    description: 'The weather now.',
    inputSchema: z.object({ city: z.string() }),
    execute: look,
  }),
}

for (const [name, provider] of Object.entries(PROVIDERS))
  for (const upstream of UPSTREAMS) {
    const model = provider(upstream)
    const about = (what) => `${name}, ${upstream}: ${what}`

    test(about('text'), async () => {
      const made = await generateText({ model, prompt: POEM, maxRetries: 0 })
      assert.equal(made.text, `You said: ${POEM}`)
      assert.equal(made.finishReason, 'stop')
      assert.ok(made.usage.inputTokens > 0 && made.usage.outputTokens > 0)
    })

    test(about('streamed text'), async () => {
      const stream = streamText({ model, prompt: POEM, maxRetries: 0 })
      const pieces = await listed(stream.textStream)
      assert.equal(pieces.join(''), `You said: ${POEM}`)
      assert.ok(pieces.length > 3, 'it came in one piece')
      assert.equal(await stream.finishReason, 'stop')
      assert.ok((await stream.usage).outputTokens > 0)
    })

    test(about('an object'), async () => {
      const made = await generateObject({
        model,
        schema: Weather,
        prompt: OBJECT,
        maxRetries: 0,
      })
      assert.deepEqual(made.object, WEATHER)
      const stream = streamObject({
        model,
        schema: Weather,
        prompt: OBJECT,
        maxRetries: 0,
      })
      assert.deepEqual((await listed(stream.partialObjectStream)).at(-1), WEATHER)
      assert.deepEqual(await stream.object, WEATHER)
    })

    for (const ask of [generateText, streamText])
      test(about(`tools in several steps, ${ask.name}`), async () => {
        const asked = {
          model,
          tools,
          prompt: STEPS,
          stopWhen: isStepCount(5),
          maxRetries: 0,
        }
        const made = await ask(asked)
        if (ask === streamText) await made.consumeStream()
        assert.equal(await made.text, FOUND)
        const calls = (await made.steps).flatMap((step) => step.toolCalls)
        assert.deepEqual(
          calls.map((call) => call.input.city),
          ['Oslo', 'Rome', 'Paris'],
        )
      })

    test(about('an agent that ends with an object'), async () => {
      const output = Output.object({ schema: Weather })
      const agent = new ToolLoopAgent({
        model,
        tools,
        output,
        instructions: 'Be brief.',
      })
      const made = await agent.generate({ prompt: OBJECT })
      assert.deepEqual(made.output, WEATHER)
    })

    test(about('a picture'), async () => {
      const image = {
        type: 'file',
        mediaType: 'image/png',
        data: Buffer.from(PNG, 'base64'),
      }
      const content = [{ type: 'text', text: 'What is it?' }, image]
      const made = await generateText({
        model,
        messages: [{ role: 'user', content }],
        maxRetries: 0,
      })
      assert.equal(made.text, 'I see 1.')
    })
  }

for (const [name, options] of Object.entries({
  'openai, responses': {
    openai: { reasoningEffort: 'high', reasoningSummary: 'auto', forceReasoning: true },
  },
  'openai-compatible': { gateway: { reasoningEffort: 'high' } },
  anthropic: { anthropic: { thinking: { type: 'enabled', budgetTokens: 2048 } } },
}))
  for (const upstream of UPSTREAMS)
    test(`${name}, ${upstream}: thinking`, async () => {
      const asked = {
        model: PROVIDERS[name](upstream),
        prompt: `${OBJECT} of degrees`,
        providerOptions: options,
        maxRetries: 0,
      }
      assert.equal((await generateText(asked)).reasoningText, THOUGHT)
      const stream = streamText(asked)
      await stream.consumeStream()
      assert.equal(await stream.reasoningText, THOUGHT)
      // It goes back with each step.
      const loop = streamText({
        ...asked,
        tools,
        prompt: STEPS,
        stopWhen: isStepCount(5),
      })
      await loop.consumeStream()
      assert.equal(await loop.text, FOUND)
      assert.deepEqual(
        (await loop.steps).map((step) => step.reasoningText),
        [THOUGHT, THOUGHT, THOUGHT],
      )
    })

for (const [name, provider] of Object.entries(PROVIDERS)) {
  test(`${name}: errors`, async () => {
    const asked = { model: provider('nobody'), prompt: 'hi', maxRetries: 0 }
    const error = await generateText(asked).catch((caught) => caught)
    assert.ok(APICallError.isInstance(error), error)
    assert.equal(error.statusCode, 404)
    assert.match(error.message, /nobody/)
    const seen = []
    const stream = streamText({
      ...asked,
      onError: ({ error: told }) => seen.push(told),
    })
    await stream.consumeStream()
    assert.equal(seen[0].statusCode, 404)
  })

  test(`${name}: what is worth trying again is tried again`, async () => {
    const asked = { model: provider(PLAY), prompt: steps(BUSY), maxRetries: 1 }
    const error = await generateText(asked).catch((caught) => caught)
    assert.ok(RetryError.isInstance(error), error)
    assert.deepEqual(
      error.errors.map((each) => each.statusCode),
      [429, 429],
    )
  })

  test(`${name}: a failure in mid-stream`, async () => {
    const prompt = steps(['text', 'so far'], ['wait', 0.1], ['raise', 'UpstreamMoved'])
    const seen = []
    const stream = streamText({
      model: provider(PLAY),
      prompt,
      maxRetries: 0,
      onError: ({ error }) => seen.push(error),
    })
    assert.equal((await listed(stream.textStream)).join(''), 'so far')
    assert.match(JSON.stringify(seen[0]) + seen[0]?.message, /a scripted UpstreamMoved/)
  })

  test(`${name}: silences are no events`, async () => {
    const stream = streamText({ model: provider(PLAY), prompt: SILENT, maxRetries: 0 })
    assert.deepEqual(await listed(stream.textStream), ['a', 'b'])
    assert.equal(await stream.finishReason, 'stop')
  })

  test(`${name}: a stream that is left`, async () => {
    const controller = new AbortController()
    const stream = streamText({
      model: provider(API),
      prompt: 'count slowly, AI SDK',
      abortSignal: controller.signal,
      maxRetries: 0,
    })
    let read = ''
    for await (const piece of stream.textStream) {
      read += piece
      controller.abort()
    }
    assert.ok(read.length > 0 && !read.includes(' 599 '))
  })
}

for (const [name, tool] of Object.entries({
  'openai, chat': undefined,
  'openai, responses': openai.tools.webSearch({}),
  anthropic: anthropic.tools.webSearch_20250305({}),
}))
  test(`${name}: sources of a search`, async () => {
    const prompt = steps(['text', 'a'], ['cite', 'https://a.example', 'A'], ['finish'])
    const asked = {
      model: PROVIDERS[name](PLAY),
      prompt,
      tools: tool && { web_search: tool },
      maxRetries: 0,
    }
    const made = await generateText(asked)
    assert.deepEqual(
      made.sources.map((source) => source.url),
      ['https://a.example'],
    )
    const stream = streamText(asked)
    await stream.consumeStream()
    assert.deepEqual(
      (await stream.sources).map((source) => source.url),
      ['https://a.example'],
    )
  })

test('anthropic: an object of a model whose name it knows', async () => {
  // It then asks for a format; of others it asks for a call of a tool named json.
  const model = anthropic('claude-sonnet-4-5')
  const made = await generateObject({
    model,
    schema: Weather,
    prompt: OBJECT,
    maxRetries: 0,
  })
  assert.deepEqual(made.object, WEATHER)
})

test('embeddings, by relay', async () => {
  const made = await embedMany({
    model: openai.embedding('up/text-embedding-3-small'),
    values: ['one', 'two'],
    maxRetries: 0,
  })
  assert.equal(made.embeddings.length, 2)
})
