// readers.mjs NODE_MODULES < JSON list of paths: what hyparquet sees in each file, as readers.py has it.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.argv[2] + '/').href)
const load = name => import(pathToFileURL(require.resolve(name)).href)

const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } = await load('hyparquet')
const { compressors } = await load('hyparquet-compressors')

const told = {}
for (const path of JSON.parse(readFileSync(0, 'utf8'))) {
  const file = await asyncBufferFromFile(path)
  const metadata = await parquetMetadataAsync(file)
  const rows = await parquetReadObjects({ file, metadata, compressors })
  const columns = parquetSchema(metadata).children
  told[path] = Object.fromEntries(columns.map(({ element }) => {
    const hashed = createHash('sha256')
    let count = 0
    for (const row of rows) {
      const value = row[element.name]
      const isThere = value !== undefined && value !== null
      count += isThere
      if (element.converted_type === 'UTF8') hashed.update(isThere ? '\0V' + value : '\0N')
    }
    return [element.name, [count, element.converted_type === 'UTF8' ? hashed.digest('hex') : null]]
  }))
}
console.log(JSON.stringify(told))
