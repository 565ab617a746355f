//! What a detection's `where:` must be able to do; the engine behind it is another crate's.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
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

/// A compiled expression over the columns of one kind: a column that a detection computes.
pub trait Expression: Send + Sync {
    /// Its value for each row: a dictionary of texts without nulls, or numbers (`Float64`).
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, String>;

    /// Which of the two.
    fn data_type(&self) -> DataType;

    /// The columns that it looks at; `None` where that is not known.
    fn columns(&self) -> Option<&[String]> {
        None
    }
}

/// Compiles conditions and expressions.
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

    /// Compiles `sql`, which is a text or a number, over the columns of `schema`, which people know as `name`.
    fn expression_over(
        &self,
        _name: &str,
        _schema: &SchemaRef,
        sql: &str,
    ) -> Result<Arc<dyn Expression>, ConditionError> {
        Err(ConditionError { at: None, message: format!("`{sql}`: nothing here computes columns") })
    }
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
