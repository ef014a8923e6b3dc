// The components that the plugin is made of have their styles there; Studio 5 brings older ones, which have none.
import '@sanity/ui/styles.css'
import {LaunchIcon} from '@sanity/icons/Launch'
import {definePlugin, type DocumentActionComponent} from 'sanity'
import {sendAction, withdrawAction} from './actions'
import {badge} from './badge'
import {duplicateAction} from './duplicate'
import {type BiginSyncOptions, settingsOf} from './options'
import {statusType} from './schema'
import {crmTool} from './tool/Tool'

/**
 * Sends leads to Zoho Bigin by bigin-sync: an action, a badge and a panel for each lead, and a tool for many.
 *
 * @example
 * ```ts
 * plugins: [structureTool(), biginSync()]
 * ```
 */
export const biginSync = definePlugin<BiginSyncOptions | void>((options) => {
  const settings = settingsOf(options ?? {})
  const ours = (type: string) => settings.types.includes(type)
  const actions = [sendAction(settings), withdrawAction(settings)]
  const badges = [badge(settings)]
  // An action is a hook, and Studio asks for the list again and again: it is to be the same one each time.
  const duplicates = new WeakMap<DocumentActionComponent, DocumentActionComponent>()
  const wrapped = (action: DocumentActionComponent): DocumentActionComponent => {
    if (action.action !== 'duplicate') return action
    const own = duplicates.get(action) ?? duplicateAction(action, settings.fields)
    duplicates.set(action, own)
    return own
  }
  return {
    name: 'sanity-plugin-bigin-sync',
    schema: {types: [statusType(settings)]},
    document: {
      actions: (before, {schemaType}) => (ours(schemaType) ? [...before.map(wrapped), ...actions] : before),
      badges: (before, {schemaType}) => (ours(schemaType) ? [...before, ...badges] : before),
    },
    tools: settings.tool
      ? [{name: 'crm', title: settings.words.toolTitle, icon: LaunchIcon, component: crmTool(settings)}]
      : [],
  }
})
