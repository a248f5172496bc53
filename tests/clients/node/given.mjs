// What every script here is given, `node SCRIPT GATEWAY KEY …`, and what they share.
// The models behind the gateway say what tests/clients/model.py says they do.

import assert from 'node:assert/strict'
import { z } from 'zod'

export const [gateway, key, ...others] = process.argv.slice(2)
export const WEB = 'kimi/k2d6-chat' // a web account: tools and JSON in words
export const API = 'up/gpt-4o' // an upstream that has all of it itself
export const PLAY = 'scripted/play' // does step by step what it is told
export const UPSTREAMS = [WEB, API]

export const POEM = '床前明月光，疑是地上霜。 A quiet night — naïve café 😀👩‍🚀🇨🇳 end'
export const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
export const THOUGHT = 'I look at the question first.'

/** The object that both upstreams answer with where they are asked for one. */
export const Weather = z.object({ city: z.string(), degrees: z.number() })
export const WEATHER = { city: 'Oslo', degrees: 5 }
export const OBJECT = 'The weather as an object'

/** A question that takes three steps: two calls at once, one more, and the answer. */
export const STEPS = 'Tell me the weather of Oslo and Rome, then Paris'
export const FOUND = 'Done: sun in Oslo, sun in Rome, sun in Paris.'
export const look = ({ city }) => `sun in ${city}`
export const CITY = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
}

/** The question that makes the scripted provider take these steps. */
export const steps = (...taken) => JSON.stringify(taken)
/** Silences before the first word and after it, which the gateway fills. */
export const SILENT = steps(
  ['wait', 1],
  ['text', 'a'],
  ['wait', 1],
  ['text', 'b'],
  ['finish'],
)
export const BUSY = ['raise', 'PoolBusy', { retry_after: 0.05 }]
export const HOPELESS = ['raise', 'PoolEmpty']

/** What the promise rejects with: an error of exactly this class, with these facts. */
export async function rejection(promise, Kind, facts = {}) {
  try {
    await promise
  } catch (error) {
    assert.equal(error.constructor.name, Kind.name, error.message)
    for (const [name, value] of Object.entries(facts))
      assert.deepEqual(error[name], value, name)
    return error
  }
  return assert.fail(`no ${Kind.name}`)
}

export async function listed(iterable) {
  const all = []
  for await (const item of iterable) all.push(item)
  return all
}
