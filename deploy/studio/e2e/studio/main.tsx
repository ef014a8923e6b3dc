// A Studio as its users write one, with the plugin; `where.js` says where its Content Lake is.
import {defineConfig, defineField, defineType, renderStudio} from 'sanity'
import {structureTool} from 'sanity/structure'
import {biginSync, crmFields} from 'sanity-plugin-bigin-sync'

declare global {
  interface Window {
    where: {apiHost: string; projectId: string; dataset: string}
  }
}

const lead = defineType({
  name: 'dbrLead',
  title: 'Lead',
  type: 'document',
  fields: [
    ...crmFields(),
    defineField({name: 'firstName', type: 'string', validation: (rule) => rule.required()}),
    defineField({name: 'secondName', type: 'string'}),
    defineField({name: 'emailAddress', type: 'string'}),
    defineField({name: 'phoneNumber', type: 'string'}),
  ],
  preview: {select: {title: 'firstName', subtitle: 'emailAddress'}},
})

const config = defineConfig({
  ...window.where,
  name: 'default',
  title: 'Leads',
  basePath: '/',
  plugins: [structureTool(), biginSync({contactUrl: 'https://bigin.example.org/contacts/{id}'})],
  schema: {types: [lead]},
})

const root = document.getElementById('sanity')
if (root) renderStudio(root, config)
