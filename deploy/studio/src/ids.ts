/** The id of the published document behind that of a draft or of a release's version. */
export const publishedId = (id: string): string => id.replace(/^(drafts\.|versions\.[^.]+\.)/, '')

/** The id of a published document's draft. */
export const draftId = (id: string): string => `drafts.${publishedId(id)}`

/** The release that a version belongs to. */
export const releaseId = (id: string): string | undefined => /^versions\.([^.]+)\./.exec(id)?.[1]
