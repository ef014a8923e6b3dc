import {defineConfig} from '@sanity/pkg-utils'

export default defineConfig({
  tsconfig: 'tsconfig.dist.json',
  babel: {styledComponents: false},
  extract: {checkTypes: false, rules: {'ae-missing-release-tag': 'off'}},
})
