import {defineArrayMember, defineField, defineType} from 'sanity'

import {crmFields} from './crmFields'

/**
 * An example of a lead type with every field that bigin-sync's default mapping reads (config/default.toml). If you have a lead
 * type already, add only `...crmFields`.
 */
export const dbrLead = defineType({
  name: 'dbrLead',
  title: 'Lead',
  type: 'document',
  groups: [
    {name: 'lead', title: 'Lead', default: true},
    {name: 'crm', title: 'CRM'},
  ],
  fields: [
    defineField({name: 'firstName', title: 'First name', type: 'string', group: 'lead'}),
    defineField({name: 'secondName', title: 'Second name', type: 'string', group: 'lead'}),
    defineField({
      name: 'emailAddress',
      title: 'Email',
      type: 'string',
      group: 'lead',
      validation: (rule) => rule.email().warning('Bigin rejects invalid email addresses'),
    }),
    defineField({name: 'phoneNumber', title: 'Phone', type: 'string', group: 'lead'}),
    defineField({name: 'address', title: 'Street', type: 'string', group: 'lead'}),
    defineField({name: 'city', title: 'City', type: 'string', group: 'lead'}),
    defineField({name: 'postcode', title: 'Postcode', type: 'string', group: 'lead'}),
    defineField({
      name: 'contactStatus',
      title: 'Contact status',
      type: 'string',
      group: 'lead',
      options: {list: ['HOT', 'WARM', 'COLD']},
    }),
    defineField({
      name: 'conversationHistory',
      title: 'Conversation',
      type: 'array',
      group: 'lead',
      of: [
        defineArrayMember({
          name: 'message',
          type: 'object',
          fields: [
            defineField({name: 'from', type: 'string', options: {list: ['ai', 'lead']}}),
            defineField({name: 'message', type: 'text'}),
            defineField({name: 'timestamp', type: 'datetime'}),
          ],
        }),
      ],
    }),
    ...crmFields.map((field) => ({...field, group: 'crm'})),
  ],
  preview: {
    select: {first: 'firstName', second: 'secondName', status: 'crmStatus'},
    prepare: ({first, second, status}) => ({
      title: [first, second].filter(Boolean).join(' ') || 'Lead without a name',
      subtitle: status,
    }),
  },
})
