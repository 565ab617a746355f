//! What a detection's `where:` must be able to do; the engine behind it is another crate's.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use yagura_event::Kind;

/// A compiled condition over the columns of one kind.
pub trait Condition: Send + Sync {
    /// Which rows hold; null counts as not.
    fn select(&self, rows: &RecordBatch) -> Result<BooleanArray, String>;

    /// The columns that it looks at; `None` where that is not known.
    fn columns(&self) -> Option<&[String]> {
        None
    }

    /// Columns that must have one of some values for any row to hold: `(column, values)`.
    /// A batch whose dictionaries have none of them needs no evaluation.
    fn required(&self) -> &[(String, Vec<String>)];
}

/// Compiles conditions.
pub trait Compiler: Send + Sync {
    /// Compiles `sql` over the columns of `kind`.
    fn compile(&self, kind: Kind, sql: &str) -> Result<Arc<dyn Condition>, ConditionError> {
        self.compile_over(kind.name(), &kind.schema(), sql)
    }

    /// Compiles `sql` over the columns of `schema`, which people know as `name`.
    fn compile_over(
        &self,
        name: &str,
        schema: &SchemaRef,
        sql: &str,
    ) -> Result<Arc<dyn Condition>, ConditionError>;
}

/// What is wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// Line (from 1) and column (from 1) within the condition's text, when known.
    pub at: Option<(u32, u32)>,
    /// What is wrong, with the valid choices.
    pub message: String,
}
