import js from '@eslint/js'
import hooks from 'eslint-plugin-react-hooks'
import {defineConfig, globalIgnores} from 'eslint/config'
import globals from 'globals'
import ts from 'typescript-eslint'

export default defineConfig(
  globalIgnores(['dist/', 'e2e/studio/dist/']),
  js.configs.recommended,
  {rules: {'no-unused-vars': ['error', {ignoreRestSiblings: true, varsIgnorePattern: '^_'}]}},
  {
    files: ['**/*.{ts,tsx}'],
    extends: [ts.configs.recommendedTypeChecked, hooks.configs.flat['recommended-latest']],
    languageOptions: {parserOptions: {projectService: true}},
    // An action is called by Studio, which does not wait for it; everything in it says itself how it ended.
    rules: {'@typescript-eslint/no-misused-promises': ['error', {checksVoidReturn: {attributes: false}}]},
  },
  {files: ['**/*.js'], languageOptions: {globals: globals.node}},
  {files: ['e2e/*.js'], languageOptions: {globals: {document: false, localStorage: false, window: false}}},
)
