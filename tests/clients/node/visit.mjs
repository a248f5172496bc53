// node visit.mjs CHROMIUM URL EXPRESSION: see tests/clients/chromium.py. Prints JSON.

import { chromium } from 'playwright-core'

const [executablePath, url, expression] = process.argv.slice(2)
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', // there is none for root
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-proxy-server',
    // Whatever else it may want to reach, it finds nobody.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
})
try {
  const page = await browser.newPage()
  const errors = []
  page.on('pageerror', (error) => errors.push(`${error}`))
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) errors.push(message.text())
  })
  // Chromium's own protocol tells of preflights, too; Playwright does not.
  const requests = new Map()
  const protocol = await page.context().newCDPSession(page)
  await protocol.send('Network.enable')
  protocol.on('Network.requestWillBeSent', ({ requestId, request, type }) => {
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [
        name.toLowerCase(),
        value,
      ]),
    )
    const { url, method } = request
    // A redirect has the id of what it came from.
    requests.set(`${requestId} ${url}`, { url, method, kind: type, headers })
  })
  await page.goto(url, { waitUntil: 'networkidle' })
  const value = await page.evaluate(expression)
  console.log(JSON.stringify({ value, errors, requests: [...requests.values()] }))
} finally {
  await browser.close()
}
